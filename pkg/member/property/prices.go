package property

import (
	_ "embed"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// example is the price list for agents without a file.
//
//go:embed prices.yaml
var example []byte

// priceList holds the hourly prices of nodes. docs/membership.md describes the file.
type priceList struct {
	// AsOf is the date of the prices. Without it they are the owner's own and do not become outdated.
	AsOf *metav1.Time `json:"asOf,omitempty"`
	// Prices by machine type, for every region that is not in Regions, and for types that a region does not list.
	Prices map[string]float64 `json:"prices,omitempty"`
	// Regions hold prices that differ from Prices.
	Regions map[string]map[string]float64 `json:"regions,omitempty"`
}

// parsePrices parses a list. The error names every invalid price.
func parsePrices(text []byte) (*priceList, error) {
	list := &priceList{}
	if err := yaml.UnmarshalStrict(text, list); err != nil {
		return nil, err
	}
	errs := wrongPrices("prices", list.Prices)
	for region, prices := range list.Regions {
		errs = append(errs, wrongPrices("regions."+region, prices)...)
	}
	if len(errs) == 0 && len(list.Prices) == 0 && len(list.Regions) == 0 {
		errs = append(errs, errors.New("it has no price: set prices: {<machine type>: <price per hour>}"))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return list, errors.Join(errs...)
}

func wrongPrices(where string, prices map[string]float64) []error {
	var errs []error
	for size, price := range prices {
		if price < 0 || math.IsInf(price, 0) || math.IsNaN(price) {
			errs = append(errs, fmt.Errorf("%s.%s is %v: it must be a price per hour, 0 or more", where, size, price))
		}
	}
	return errs
}

// of is the hourly price of a machine of a size in a region.
func (l *priceList) of(region, size string) (float64, bool) {
	if price, ok := l.Regions[region][size]; ok {
		return price, true
	}
	price, ok := l.Prices[size]
	return price, ok
}

// pricesAge is the age from which prices are reported as outdated.
const pricesAge = 24 * time.Hour

// stale is the date of the prices in words if they are outdated, else "".
func (l *priceList) stale(now time.Time) string {
	if l.AsOf == nil || now.Sub(l.AsOf.Time) <= pricesAge {
		return ""
	}
	return "the prices are outdated, they are from " + l.AsOf.UTC().Format(time.DateOnly)
}

// least is the smallest amount that costs can be spread over: a thousandth of a core, a byte.
var least = amount{cpu: 1, memory: 1}

// costs are the hourly costs of one core, and of one GiB, of a cluster.
func (l *priceList) costs(t total, region string) (core, gib float64, err error) {
	if t.nodes == 0 {
		return 0, 0, nil
	}
	var (
		sum     float64
		unknown []string
	)
	for size, n := range t.sizes {
		price, ok := l.of(region, size)
		if !ok {
			unknown = append(unknown, size)
		}
		sum += price * float64(n)
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return 0, 0, fmt.Errorf("there is no price for nodes of type %s", strings.Join(unknown, ", "))
	}
	if t.capacity.cpu <= least.cpu || t.capacity.memory <= least.memory {
		return 0, 0, errors.New("the nodes report no cpu or no memory")
	}
	return sum / (float64(t.capacity.cpu) / 1000), sum / (float64(t.capacity.memory) / (1 << 30)), nil
}

// priceSource provides prices.
type priceSource interface {
	// list returns the newest valid prices, nil if there are none, and what is wrong with their source.
	list() (*priceList, error)
}

// pricesOf is the source for a file; without one, the example, which is marked as such.
func pricesOf(file string) (priceSource, error) {
	if file != "" {
		return &priceFile{path: file}, nil
	}
	list, err := parsePrices(example)
	return builtIn{list}, err
}

type builtIn struct{ prices *priceList }

func (b builtIn) list() (*priceList, error) { return b.prices, nil }

// priceFile reads a file again whenever it was written or replaced. If the file is unreadable or invalid, the last
// valid prices stay in use.
type priceFile struct {
	path string

	mu      sync.Mutex
	prices  *priceList
	problem error
	written time.Time
	size    int64
}

func (f *priceFile) list() (*priceList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		return f.prices, fmt.Errorf("price file: %w", err)
	}
	if info.ModTime().Equal(f.written) && info.Size() == f.size {
		return f.prices, f.problem
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return f.prices, fmt.Errorf("price file: %w", err)
	}
	f.written, f.size = info.ModTime(), info.Size()
	prices, err := parsePrices(text)
	if f.problem = nil; err != nil {
		f.problem = fmt.Errorf("price file %s: %w", f.path, err)
		return f.prices, f.problem
	}
	f.prices = prices
	return prices, nil
}
