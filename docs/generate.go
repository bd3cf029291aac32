// Package docs holds what is written about Flagship. Parts of it are written from the sources.
package docs

//go:generate go run ./generate
