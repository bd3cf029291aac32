package v1beta1

// WithDefaults is a copy of the strategy with the defaults of the API filled in; nil is all defaults. The schema fills in the same, but
// only where a strategy is there at all, and what older agents stored may lack them.
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

// Abandons says whether placed objects stay on the cluster when their Work is deleted.
func (s *DeleteStrategy) Abandons() bool {
	return s != nil && s.PropagationPolicy == DeletePropagationPolicyAbandon
}
