package trace

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Options are the flags for traces, the same for both agents.
type Options struct {
	// Endpoint is an OTLP collector for gRPC, as host:port or as a URL; empty for none.
	Endpoint string
	// Sample is the share of the changes that are traced.
	Sample float64
}

// AddFlags declares the flags on fs.
func (o *Options) AddFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.Endpoint, "trace-endpoint", "", "OpenTelemetry collector (OTLP, gRPC) for a trace of each change: https://host:port, or host:port without TLS; empty: no traces")
	fs.Float64Var(&o.Sample, "trace-sample", 1, "share of the changes that are traced, 0 to 1; the same on the hub and on members")
}

// Validate returns all invalid values at once.
func (o *Options) Validate() error {
	var errs []error
	if wrong := o.wrong(); wrong != "" {
		errs = append(errs, fmt.Errorf("--trace-endpoint is %q; %s", o.Endpoint, wrong))
	}
	if !(o.Sample >= 0 && o.Sample <= 1) { // nor is it a number otherwise
		errs = append(errs, fmt.Errorf("--trace-sample is %v; it must be between 0 and 1", o.Sample))
	}
	return errors.Join(errs...)
}

// wrong is what is wrong with the endpoint.
func (o *Options) wrong() string {
	if o.Endpoint == "" {
		return ""
	}
	const form = "it must have the form host:port or https://host:port"
	u, err := url.Parse(o.url())
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return form
	}
	if host, port, err := net.SplitHostPort(u.Host); err != nil || host == "" || port == "" {
		return form
	}
	return ""
}

// url is the endpoint as a URL; http is without TLS.
func (o *Options) url() string {
	if strings.Contains(o.Endpoint, "://") {
		return o.Endpoint
	}
	return "http://" + o.Endpoint
}
