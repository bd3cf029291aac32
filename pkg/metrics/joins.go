package metrics

// succeeded is the one value of the counters' label: what has not succeeded yet is tried again, and counted when it does.
const succeeded = "success"

var (
	joins  = membership("join_result_counter", "Clusters that have joined the fleet, as this process has seen it.")
	leaves = membership("leave_result_counter", "Clusters that have left the fleet, as this process has seen it.")
)

// membership defines a counter here because both agents count, and may be one process.
func membership(name, help string) func() {
	counter := Counter(Definition{Name: name, Help: help, Agents: []Agent{Hub, Member},
		Labels: []Label{{"result", "`success`; an attempt that fails is repeated until it succeeds, and counted then"}}})
	return counter.WithLabelValues(succeeded).Inc
}

// CountJoin counts that a cluster has joined.
func CountJoin() { joins() }

// CountLeave counts that a cluster has left.
func CountLeave() { leaves() }
