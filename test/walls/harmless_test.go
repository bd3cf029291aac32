package walls

import "testing"

// Walls keep attacks out, not users: what is harmless arrives, as it does after every attack.
func TestHarmlessPlacementArrives(t *testing.T) {
	t.Parallel()
	arrives(t, "rg-harmless")
}
