# SPDX-License-Identifier: GPL-2.0-or-later
# Traces of LuaJIT's compiler, its interpreter, and both again in 32-bit code.
set -e
export LD_LIBRARY_PATH=
modes="on off"
[ -z "${QUICK:-}" ] || modes=on
for mode in $modes; do
        echo "64-bit, JIT $mode"
        luajit -j$mode "$HERE/work.lua"
        echo "32-bit, JIT $mode"
        LD_LIBRARY_PATH=/opt/i386/usr/lib/i386-linux-gnu /opt/i386/usr/bin/luajit -j$mode "$HERE/work.lua"
done
