#!/bin/sh
# Imports the Debian package index of this machine into a store with htkvctl, kills the import in
# the middle, imports again, and compares the export with the input. Prints each command and what it
# said; docs/real-input.md is its output.
#
# Needs apt-cache and python3, and a release build: cargo build --release
set -eu

htkvctl=${HTKVCTL:-$(dirname "$0")/../target/release/htkvctl}
htkvctl=$(realpath "$htkvctl")
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
export HTKVCTL="$htkvctl"
ctl() { "$HTKVCTL" --data-dir store "$@"; }

# Shows a command as a person would type it, and runs it.
show() {
    printf '$ %s\n' "$1"
    eval "$(printf '%s' "$1" | sed 's/htkvctl /ctl /g')" 2>&1
}

cat > to-json-lines.py <<'PYTHON'
import json, sys
for stanza in sys.stdin.read().split("\n\n"):
    lines = [line for line in stanza.split("\n") if ": " in line and line[0] != " "]
    fields = dict(line.split(": ", 1) for line in lines)
    if fields:
        key = "/".join(fields[name] for name in ("Package", "Version", "Architecture"))
        print(json.dumps({"key": key, "value": stanza}, ensure_ascii=False))
PYTHON

echo '$ cat to-json-lines.py'
cat to-json-lines.py
show 'apt-cache dumpavail > dumpavail.txt'
show 'python3 to-json-lines.py < dumpavail.txt > packages.jsonl'
show 'wc -l -c packages.jsonl'
echo

# The import reads from a pipe that ends in the middle and stays open, so that it is killed there
# however fast the machine is.
half=$(($(wc -l < packages.jsonl) / 2))
mkfifo half
echo "\$ htkvctl import half &     # a pipe with the first $half lines, which then stays open"
"$HTKVCTL" --data-dir store import half 2>&1 &
importer=$!
exec 9> half
head -n "$half" packages.jsonl >&9
# It has taken all of them but for what the pipe holds.
echo '$ kill -9 %1'
kill -9 "$importer"
wait "$importer" 2> /dev/null || true
exec 9>&-
show 'htkvctl stats'
show 'htkvctl verify'
show 'du -sh store | cut -f1'
echo

show 'htkvctl import packages.jsonl'
show 'htkvctl import packages.jsonl   # again'
show 'htkvctl stats'
show 'htkvctl segments'
show 'htkvctl compact'
show 'htkvctl verify'
show 'du -sh store | cut -f1'
echo

show 'htkvctl scan | wc -l'
show "htkvctl scan python3-a | wc -l"
show "htkvctl scan bash/ | cut -c 1-90"
show "htkvctl scan zlib1g --limit 1 --reverse | cut -f1"
echo

show 'htkvctl export > export.jsonl'
cat > same.py <<'PYTHON'
import json
rows = lambda name: sorted((row["key"], row["value"]) for row in map(json.loads, open(name)))
print("equal" if rows("packages.jsonl") == rows("export.jsonl") else "DIFFERENT")
PYTHON
echo '$ cat same.py'
cat same.py
show 'python3 same.py'
