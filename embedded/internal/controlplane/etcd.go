package controlplane

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdSocket is relative to the state folder, which is the working directory: the paths of Unix sockets may have only
// about a hundred characters. A socket, unlike a port, cannot be taken by others and is guarded by the folder's mode,
// so that etcd needs no certificates. etcd wants a port in every address it advertises; here it is part of the file's
// name.
const etcdSocket = "unix://etcd:1"

// startEtcd returns when etcd serves.
func startEtcd(ctx context.Context, settings Settings) (*embed.Etcd, error) {
	listen, err := url.Parse(etcdSocket)
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name = settings.Config.Name
	cfg.Dir = settings.Dir.Join("etcd")
	cfg.ListenClientUrls = []url.URL{*listen}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	// There are no peers: this address is a name in the membership list that nobody listens on.
	cfg.ListenPeerUrls = nil
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	// A member that is alone is elected after up to ElectionMs; the ratio is the least that etcd allows.
	cfg.TickMs, cfg.ElectionMs = 50, 250
	// What is written survives this process, however it ends, but not a crash of the machine: these clusters are for
	// trying and testing, and waiting for the disk makes every write of a busy cluster slow.
	cfg.UnsafeNoFsync = true
	// With no follower to catch up there is no reason to hold thousands of past entries in memory.
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 2000, 100
	cfg.QuotaBackendBytes = 8 << 30
	cfg.EnableGRPCGateway = false
	// The defaults call a laptop that is busy with something else slow.
	cfg.WarningApplyDuration, cfg.WarningUnaryRequestDuration = time.Second, time.Second
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(settings.Log.Zap())

	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd: start in %s: %w", cfg.Dir, err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err = <-etcd.Err():
	case <-time.After(startTimeout):
		err = fmt.Errorf("not ready after %s", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	etcd.Close()
	return nil, fmt.Errorf("etcd: %w", err)
}

// watchEtcd returns when etcd ends.
func watchEtcd(ctx context.Context, etcd *embed.Etcd) error {
	select {
	case err := <-etcd.Err():
		return err
	case <-etcd.Server.StopNotify():
		return nil
	case <-ctx.Done():
		return nil
	}
}
