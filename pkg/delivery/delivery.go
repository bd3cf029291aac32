// Package delivery owns what a binding was given, and its health on the cluster, as bindings record it: the conditions from the start of a
// rollout to available content; when a cluster has failed under a failure policy, and how its rollback goes. Bindings go in, answers come
// out. Every other package that decides about bindings uses these.
package delivery
