package charts_test

import (
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

func init() { log.SetLogger(logr.Discard()) }
