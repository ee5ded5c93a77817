# SPDX-License-Identifier: GPL-2.0-or-later
# Perl's regular expressions, sorting, packing, floating point, big numbers, digests and processes.
exec perl "$HERE/perl.pl"
