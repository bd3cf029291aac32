package process

import (
	"cmp"
	"errors"
	"fmt"
)

// Between is an error that names the flag, its value and the range unless low ≤ value ≤ high.
func Between[T cmp.Ordered](flag string, value, low, high T) error {
	if value < low || value > high {
		return fmt.Errorf("--%s is %v; it must be between %v and %v", flag, value, low, high)
	}
	return nil
}

// Throttle checks a pair of client limits: a negative qps means none, else qps and burst must be in their ranges and burst ≥ qps.
func Throttle(qpsFlag string, qps, most float64, burstFlag string, burst, mostBurst int) error {
	if qps < 0 {
		return nil
	}
	err := errors.Join(Between(qpsFlag, qps, 10, most), Between(burstFlag, burst, 10, mostBurst))
	if err == nil && float64(burst) < qps {
		err = fmt.Errorf("--%s is %d; it must not be less than --%s, which is %v", burstFlag, burst, qpsFlag, qps)
	}
	return err
}
