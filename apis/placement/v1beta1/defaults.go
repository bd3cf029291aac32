package v1beta1

// WithDefaults returns a copy of the strategy with the defaults of the API; all defaults if it is nil. The schema sets
// the same defaults, but only if a strategy is present, and objects stored by older agents may lack them.
func (s *ApplyStrategy) WithDefaults() ApplyStrategy {
	out := ApplyStrategy{}
	if s != nil {
		out = *s.DeepCopy()
	}
	if out.ComparisonOption == "" {
		out.ComparisonOption = ComparisonOptionPartialComparison
	}
	if out.WhenToApply == "" {
		out.WhenToApply = WhenToApplyAlways
	}
	if out.Type == "" {
		out.Type = ApplyStrategyTypeClientSideApply
	}
	if out.WhenToTakeOver == "" {
		out.WhenToTakeOver = WhenToTakeOverAlways
	}
	if out.Type == ApplyStrategyTypeServerSideApply && out.ServerSideApplyConfig == nil {
		out.ServerSideApplyConfig = &ServerSideApplyConfig{}
	}
	return out
}

// Abandons reports whether placed objects stay on the cluster when their Work is deleted.
func (s *DeleteStrategy) Abandons() bool {
	return s != nil && s.PropagationPolicy == DeletePropagationPolicyAbandon
}
