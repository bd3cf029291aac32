package e2e

import "time"

type timeLimit = time.Duration

// calm is for how long a state must hold to count as stable: longer than a fleet at work takes for any of its steps,
// the writing of progress included.
const calm = 2 * time.Second
