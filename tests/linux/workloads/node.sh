# SPDX-License-Identifier: GPL-2.0-or-later
# V8: its interpreter, both of its compilers, WebAssembly, garbage collection, workers; then without a JIT.
set -e
node "$HERE/work.js" ${QUICK:+quick}
[ -n "${QUICK:-}" ] || node --jitless "$HERE/work.js" quick
