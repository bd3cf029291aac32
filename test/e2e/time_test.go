package e2e

import "time"

type timeLimit = time.Duration

// calm is for how long a state must hold to count as stable.
const calm = 3 * time.Second
