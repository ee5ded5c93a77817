# SPDX-License-Identifier: GPL-2.0-or-later
# usage: mixed SECONDS
# A mixed load for so long: programs in turns, each round's output as the first's, with memory and scheduling stress aside.
end=$(($(date +%s) + $1))
stress-ng --quiet --verify --oomable --timeout "$1" --temp-path "$PWD" --vm 1 --vm-bytes 64M --switch 1 --fork 1 --futex 1 --timer 1 --mmap 1 \
        --mmap-bytes 32M >stress.log 2>&1 &
stress=$!
round=0
failed=0
while [ "$(date +%s)" -lt $end ]; do
        round=$((round + 1))
        for name in python perl gcc luajit node busybox32 tools; do
                mkdir work
                (cd work && bash "$HERE/$name.sh") >out 2>&1 || { echo "round $round: $name failed"; failed=1; cat out; }
                rm -rf work
                [ -e "first.$name" ] || { cp out "first.$name"; echo "$name $(sha256sum <out)"; }
                cmp out "first.$name" || { echo "round $round: $name differs"; failed=1; diff out "first.$name"; }
        done
        [ $failed = 0 ] || break
done
[ $failed = 0 ] || kill $stress
wait $stress || { echo "stress-ng failed"; failed=1; cat stress.log; }
[ $failed = 0 ] && echo "all rounds alike"
exit $failed
