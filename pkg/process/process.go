// Package process is shared by the processes of both agents, apart from their controllers: flags and the verbosity of
// logs, the wait for CRDs, probes and metrics, and leader election. It decides nothing about the fleet.
package process
