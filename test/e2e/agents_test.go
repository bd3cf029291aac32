package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// ready asks an agent of the local fleet whether it is, and what it waits for.
func ready(ctx context.Context, name string) error {
	for _, url := range local.AgentReadyURLs(name) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		said, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, said)
		}
	}
	return nil
}
