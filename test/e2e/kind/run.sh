#!/usr/bin/env bash
# Runs the scenarios of test/e2e on kind: four clusters of containers, the agents as pods from images built here, the charts as they are
# released. Needs docker, kubectl and Go; kind and Helm are run at the versions below by Go.
#
#   test/e2e/kind/run.sh              create the clusters, run the scenarios, delete the clusters
#   test/e2e/kind/run.sh up           only create them; then: source out/kind/env && go test ./test/e2e/...
#   test/e2e/kind/run.sh down         only delete them
#   test/e2e/kind/run.sh config N     print the configuration of a cluster of N nodes
#
# KIND_IMAGE chooses the node image, KEEP=1 keeps the clusters after the scenarios; further arguments go to "go test". If something fails,
# what the nodes and the agents logged is in out/kind-logs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

readonly kind_version=v0.30.0 helm_version=v4.3.1
readonly out=out/kind logs=out/kind-logs tag=e2e system=fleet-system
readonly prefix=flagship # of the names kind knows the clusters by
readonly hub=hub
# name, nodes, region, environment: what the scenarios presume
readonly members=("c1 2 east prod" "c2 3 east canary" "c3 4 west prod")

export KUBECONFIG=$PWD/$out/kubeconfig
# An image with attestations is an index of several, of which kind loads none.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

kind() { go run "sigs.k8s.io/kind@$kind_version" "$@"; }
helm() { go run "helm.sh/helm/v4/cmd/helm@$helm_version" "$@"; }
say() { printf '\n== %s\n' "$*"; }

# enough refuses a machine on which the later nodes would not start: each watches many files.
enough() {
	local file=/proc/sys/fs/inotify/max_user_instances
	if [[ -r $file && $(<"$file") -lt 512 ]]; then
		echo "ten nodes watch more files than this machine allows: sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288" >&2
		return 1
	fi
}

# config prints kind's configuration of a cluster with $1 nodes: the control plane, and workers.
config() {
	printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n'
	for ((node = 1; node < $1; node++)); do
		printf -- '- role: worker\n'
	done
}

# create makes cluster $1 with $2 nodes; its context gets the cluster's bare name.
create() {
	local image=()
	if [[ -n ${KIND_IMAGE:-} ]]; then
		image=(--image "$KIND_IMAGE")
	fi
	config "$2" | kind create cluster --name "$prefix-$1" --config - --wait 3m ${image[@]+"${image[@]}"}
	kubectl config rename-context "kind-$prefix-$1" "$1"
}

images() {
	say "build the plugin, which scenarios call, and both images from scratch"
	CGO_ENABLED=0 go build -o bin/ ./cmd/kubectl-fleet
	CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags '-s -w' -o "$out/image/" ./cmd/hubagent ./cmd/memberagent
	for agent in hub member; do
		docker build -f "build/$agent-agent.Dockerfile" -t "flagship/$agent-agent:$tag" "$out/image"
	done
}

# install brings chart $2 into cluster $1, with the image built here; what follows goes to helm.
install() {
	local cluster=$1 chart=$2
	shift 2
	say "install $chart in $cluster"
	kind load docker-image "flagship/$chart:$tag" --name "$prefix-$cluster"
	helm upgrade --install "$chart" "charts/$chart" --kube-context "$cluster" --namespace "$system" --create-namespace \
		--set image.repository="flagship/$chart,image.tag=$tag,image.pullPolicy=Never" --wait --timeout 3m "$@"
}

install_hub() {
	install "$hub" hub-agent --set forceDeleteWaitTime=1m,enableWorkload=true \
		--set resourceSnapshotCreationMinimumInterval=0s,resourceChangesCollectionDuration=0s
}

# join makes cluster $1 a member, in region $2 and environment $3. A member's agent is ready when it has joined, so it is invited first.
join() {
	local name=$1 account=fleet-member-agent-$1
	say "invite $name"
	kubectl --context "$hub" -n "$system" create serviceaccount "$account"
	kubectl --context "$name" -n default create secret generic hub-kubeconfig-secret \
		--from-literal=token="$(kubectl --context "$hub" -n "$system" create token "$account" --duration 8760h)"
	kubectl --context "$hub" apply -f - <<EOF
apiVersion: cluster.kubernetes-fleet.io/v1beta1
kind: MemberCluster
metadata:
  name: $name
  labels: {region: $2, env: $3}
spec:
  identity: {kind: ServiceAccount, name: $account, namespace: $system}
  heartbeatPeriodSeconds: 15
EOF
	install "$name" member-agent --set config.hubURL="$(hub_url)" --set config.hubCA="$(hub_ca)" --set config.memberClusterName="$name" \
		--set enableNamespaceCollectionInPropertyProvider=true
	kubectl --context "$hub" wait membercluster "$name" --for condition=Joined --timeout 2m
}

# hub_url is the hub's address in the network that the clusters' containers share.
hub_url() {
	printf 'https://%s:6443' "$(docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' "$prefix-$hub-control-plane")"
}

hub_ca() {
	kubectl --context "$hub" config view --raw --minify --flatten -o jsonpath='{.clusters[0].cluster.certificate-authority-data}'
}

up() {
	enough
	mkdir -p "$out"
	images
	say "create the clusters"
	create "$hub" 1
	install_hub
	local name nodes region env names=()
	for member in "${members[@]}"; do
		read -r name nodes region env <<<"$member"
		create "$name" "$nodes"
		join "$name" "$region" "$env"
		names+=("$name")
	done
	{
		echo "export FLEET_KUBECONFIG=$KUBECONFIG"
		echo "export FLEET_HUB=$hub"
		echo "export FLEET_MEMBERS=$(
			IFS=,
			echo "${names[*]}"
		)"
	} >"$out/env"
}

# leave ends a run of the scenarios that has this status.
leave() {
	if [[ $1 != 0 ]]; then
		for member in "$hub" "${members[@]}"; do
			kind export logs "$logs/${member%% *}" --name "$prefix-${member%% *}" || true
		done
	fi
	if [[ ${KEEP:-} != 1 ]]; then
		down
	fi
}

down() {
	for member in "$hub" "${members[@]}"; do
		kind delete cluster --name "$prefix-${member%% *}" || true
	done
	rm -rf "$out"
}

scenarios() {
	say "run the scenarios"
	# shellcheck source=/dev/null
	source "$out/env"
	go test -count 1 -timeout 60m ./test/e2e/... "$@"
}

case ${1:-} in
up) up ;;
down) down ;;
config) config "${2:?how many nodes?}" ;;
*)
	trap 'leave $?' EXIT
	up
	scenarios "$@"
	;;
esac
