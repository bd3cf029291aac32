package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/flagship-fleet/flagship/embedded/internal/pki"
)

func restConfig(server string, files pki.Files, pair pki.Pair) *rest.Config {
	return &rest.Config{
		Host:            server,
		TLSClientConfig: rest.TLSClientConfig{CAFile: files.CA, CertFile: pair.Cert, KeyFile: pair.Key},
		QPS:             -1,
		UserAgent:       "embedded-cluster",
	}
}

// partConfig writes the kubeconfig of a part of the control plane into the state folder.
func (c cluster) partConfig(pair pki.Pair) (string, error) {
	const name = "embedded"
	config := kubeconfig(name, c.server)
	config.Clusters[name].CertificateAuthority = c.pki.CA
	config.AuthInfos[name].ClientCertificate = pair.Cert
	config.AuthInfos[name].ClientKey = pair.Key
	path := c.dir.Join(filepath.Base(pair.Cert) + ".kubeconfig")
	return path, writeKubeconfig(path, config)
}

// adminKubeconfig holds keys and certificates itself, so that the file can be carried away.
func (c cluster) adminKubeconfig() (*clientcmdapi.Config, error) {
	name := c.Config.Name
	config := kubeconfig(name, c.server)
	var errs []error
	for path, to := range map[string]*[]byte{
		c.pki.CA:         &config.Clusters[name].CertificateAuthorityData,
		c.pki.Admin.Cert: &config.AuthInfos[name].ClientCertificateData,
		c.pki.Admin.Key:  &config.AuthInfos[name].ClientKeyData,
	} {
		data, err := os.ReadFile(path)
		*to = data
		errs = append(errs, err)
	}
	return config, errors.Join(errs...)
}

func kubeconfig(name, server string) *clientcmdapi.Config {
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return config
}

// writeKubeconfig makes the file appear whole: others wait for it.
func writeKubeconfig(path string, config *clientcmdapi.Config) error {
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encode kubeconfig %s: %w", path, err)
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}
