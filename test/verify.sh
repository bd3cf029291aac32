#!/usr/bin/env bash
# Fails if generated files, go.mod files or formatting are not what the sources say. Works on a copy, so the tree stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - 2>/dev/null | tar -xf - -C "$copy"
cd "$copy"
go generate ./apis ./docs
go mod tidy
(cd embedded && go mod tidy)
gofmt -w $(find . -name '*.go' -not -name 'zz_generated*')
changed=$(cd "$top" && git ls-files --cached --others --exclude-standard | while read -r f; do
  cmp -s "$top/$f" "$copy/$f" || echo "$f"; done
  cd "$copy" && find apis charts -name '*.go' -o -name '*.yaml' | while read -r f; do [ -e "$top/$f" ] || echo "$f"; done)
if [ -n "$changed" ]; then
  echo "not what the sources say; run: make generate && go mod tidy && gofmt -w ."
  echo "$changed" | sed 's/^/  /'
  exit 1
fi
echo "generated files, go.mod and formatting are up to date"
