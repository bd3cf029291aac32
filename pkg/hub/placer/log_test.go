package placer_test

import (
	"log/slog"
	"os"
)

func slogHandler() slog.Handler {
	return slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.Level(-1)})
}
