// Package docs contains the documentation. Some pages are generated from the sources.
package docs

//go:generate go run ./generate
