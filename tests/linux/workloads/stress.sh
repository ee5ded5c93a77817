# SPDX-License-Identifier: GPL-2.0-or-later
# usage: stress SECONDS WORKERS NAME[=ARGS] ...
# Runs these stressors of stress-ng one after another, each so long. ARGS are further options, joined by commas. What
# this kernel or processor lacks is said and skipped.
seconds=$1
workers=$2
shift 2
failed=
for one in "$@"; do
        name=${one%%=*}
        args=
        [ "$name" = "$one" ] || args=${one#*=}
        start=$SECONDS
        # What grows until there is no more memory gets to that point early.
        limit=unlimited
        case $name in brk | bigheap) limit=600000 ;; esac
        # shellcheck disable=SC2086
        (ulimit -v $limit; exec stress-ng --quiet --verify --oomable --timeout "$seconds" "--$name" "$workers" ${args//,/ }) >log 2>&1
        case $? in
        0) [ $((SECONDS - start)) -le $((seconds * 2 + 3)) ] || echo "took $((SECONDS - start)) s: $name" ;;
        3 | 4) echo "skipped: $name: $(tail -n 1 log)" ;;
        *)
                echo "FAILED: $name: exit status $?"
                cat log
                failed="$failed $name"
                ;;
        esac
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
echo "all right: $*"
