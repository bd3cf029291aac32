// Package delivery owns what a binding was given and how that fares on its cluster, as bindings record it: the conditions of the way
// from the start of a rollout to available content. Bindings go in; answers come out, and every other package that decides about
// bindings starts from these.
package delivery
