package metrics

// succeeded is the only value of the counters' label: the agents retry a failed attempt, and count it when it succeeds.
const succeeded = "success"

var (
	joins  = membership("join_result_counter", "Clusters that have joined the fleet since this process started.")
	leaves = membership("leave_result_counter", "Clusters that have left the fleet since this process started.")
)

// membership defines the counters here because both agents use them, and both may run in one process.
func membership(name, help string) func() {
	counter := Counter(Definition{Name: name, Help: help, Agents: []Agent{Hub, Member},
		Labels: []Label{{"result", "`success`; a failed attempt is retried until it succeeds, and counted then"}}})
	return counter.WithLabelValues(succeeded).Inc
}

// CountJoin counts that a cluster has joined.
func CountJoin() { joins() }

// CountLeave counts that a cluster has left.
func CountLeave() { leaves() }
