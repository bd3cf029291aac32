package property

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/report"
)

// versionAge is how long the Kubernetes version is cached; upgrades are rare and send no event.
const versionAge = 15 * time.Minute

// azure is the Provider that adds to those of a watcher: the number of nodes of each type, their costs, the Kubernetes
// version and the certificate authority.
type azure struct {
	*watcher
	// prices is nil if costs are disabled.
	prices priceSource
	region string
	api    rest.Interface
	// ca is the certificate authority of the cluster as PEM.
	ca  string
	now func() time.Time

	mu      sync.Mutex
	version string
	read    time.Time
}

func newAzure(cfg *rest.Config, w *watcher, prices priceSource, region string) (*azure, error) {
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for the version: %w", err)
	}
	ca, err := authorityOf(cfg)
	if err != nil {
		return nil, err
	}
	return &azure{watcher: w, prices: prices, region: region, api: clients.Discovery().RESTClient(), ca: ca, now: time.Now}, nil
}

// authorityOf is the certificate authority of a cluster; "" if the system's are used.
func authorityOf(cfg *rest.Config) (string, error) {
	data := cfg.CAData
	if cfg.CAFile != "" {
		var err error
		if data, err = os.ReadFile(cfg.CAFile); err != nil {
			return "", fmt.Errorf("read the cluster's certificate authority: %w", err)
		}
	}
	if block, _ := pem.Decode(data); block == nil {
		return "", nil
	}
	return string(data), nil
}

// Collect reports the known facts.
func (a *azure) Collect(ctx context.Context) (*report.Inventory, error) {
	inventory, sums, err := a.collect(ctx)
	if errors.As(err, new(*refusedError)) {
		inventory.Conditions = append(inventory.Conditions, report.ProviderRefused(err.Error()), report.CollectionLate(err.Error()))
		return inventory, err
	}
	if err != nil {
		inventory.Conditions = append(inventory.Conditions, report.ProviderLate(err.Error()), report.CollectionLate(err.Error()))
		return inventory, err
	}
	version, err := a.kubernetes(ctx)
	inventory.Partial = err != nil
	if version != "" {
		inventory.Properties[contract.PropertyVersion] = version
	}
	if a.ca != "" {
		inventory.Properties[contract.PropertyAuthority] = a.ca
	}
	for size, n := range sums.sizes {
		inventory.Properties[sizeProperty(size)] = strconv.Itoa(n)
	}
	inventory.Conditions = append(inventory.Conditions, report.ProviderStarted(), report.PropertiesCollected())
	if a.prices != nil {
		inventory.Conditions = append(inventory.Conditions, a.addCosts(inventory.Properties, sums))
	}
	return inventory, err
}

func sizeProperty(size string) clusterv1beta1.PropertyName {
	return clusterv1beta1.PropertyName(contract.PropertySizePrefix + size + contract.PropertySizeSuffix)
}

// addCosts adds the costs of a core and a GB to properties, if they can be calculated, and returns the condition that
// reports the result.
func (a *azure) addCosts(properties map[clusterv1beta1.PropertyName]string, sums total) metav1.Condition {
	list, problem := a.prices.list()
	if list == nil {
		return report.CostsFailed(problem.Error())
	}
	core, gib, err := list.costs(sums, a.regionOf(sums))
	if err != nil {
		return report.CostsFailed(joined(err.Error(), textOf(problem)))
	}
	properties[contract.PropertyCoreCost] = strconv.FormatFloat(core, 'f', 3, 64)
	properties[contract.PropertyMemoryCost] = strconv.FormatFloat(gib, 'f', 3, 64)
	return report.CostsCalculated(joined(list.stale(a.now()), textOf(problem)))
}

// regionOf is the region of the nodes: that of the flag, or else the most frequent label.
func (a *azure) regionOf(sums total) string {
	if a.region != "" {
		return a.region
	}
	var most string
	for region, n := range sums.regions {
		if n > sums.regions[most] || n == sums.regions[most] && region < most {
			most = region
		}
	}
	return most
}

// kubernetes is the version of the API server; beside an error the last known one.
func (a *azure) kubernetes(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.read.IsZero() && a.now().Sub(a.read) < versionAge {
		return a.version, nil
	}
	body, err := a.api.Get().AbsPath("/version").Do(ctx).Raw()
	var info version.Info
	if err == nil {
		err = decode.JSON(body, &info)
	}
	if err != nil {
		return a.version, fmt.Errorf("get the Kubernetes version: %w", err)
	}
	a.version, a.read = info.GitVersion, a.now()
	return a.version, nil
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// joined joins the texts that are not empty.
func joined(texts ...string) string {
	var some []string
	for _, text := range texts {
		if text != "" {
			some = append(some, text)
		}
	}
	return strings.Join(some, "; ")
}
