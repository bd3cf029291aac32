package decode

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// The arithmetic of quantities is exact and writes exponents out: to compare 1e10000000 with 1 takes seconds, and
// members report what they like. Nothing that is counted comes near these bounds.
const (
	mostCharacters = 64
	mostExponent   = 30
	mostMagnitude  = 1e36
)

// Quantity reads a quantity that can be compared; ok is false for any other text.
func Quantity(text string) (value resource.Quantity, ok bool) {
	if len(text) > mostCharacters {
		return value, false
	}
	// E alone, Ei and the like are suffixes.
	if at := strings.IndexAny(text, "eE"); at >= 0 && at+1 < len(text) {
		exponent, err := strconv.Atoi(text[at+1:])
		if err == nil && (exponent > mostExponent || exponent < -mostExponent) || errors.Is(err, strconv.ErrRange) {
			return value, false
		}
	}
	value, err := resource.ParseQuantity(text)
	return value, err == nil && Countable(value)
}

// Countable reports whether value can be compared in reasonable time.
func Countable(value resource.Quantity) bool {
	return math.Abs(value.AsApproximateFloat64()) <= mostMagnitude
}
