// Package process is what the processes of both agents share beside their controllers: flags and the verbosity of logs, the wait for CRDs,
// probes and metrics, and the lease by which one of several replicas leads. It decides nothing about the fleet.
package process
