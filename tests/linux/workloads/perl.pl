# SPDX-License-Identifier: GPL-2.0-or-later
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Digest::MD5 qw(md5_hex);
use Math::BigInt;
use Math::BigFloat;
use MIME::Base64;
use List::Util qw(sum max shuffle);
use Storable qw(freeze thaw);
use Compress::Zlib ();

my $size = $ENV{QUICK} ? 1 : 5;
my $seed = 12345;
sub rnd { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed }

my @words = map { join '', map { chr(97 + rnd() / 65536 % 20) } 1 .. 3 + rnd() / 65536 % 6 } 1 .. 4000 * $size;
my $text = join ' ', @words;
print "sort ", sha256_hex(join ',', sort @words), " ", sha256_hex(join ',', sort { length $a <=> length $b || $b cmp $a } @words), "\n";
my %count;
$count{$_}++ for split //, $text;
print "count ", join(' ', map { "$_=$count{$_}" } sort keys %count), "\n";
my $n = () = $text =~ /\b(?:a\w*?c|(b)\w*\1)\b/g;
(my $t = $text) =~ s/(\w)(\w+)/\u$1\L$2/g;
print "regex $n ", md5_hex($t), " ", scalar(reverse substr $t, 0, 20), "\n";
(my $u = $text) =~ tr/a-m/A-M/;
print "tr ", md5_hex($u), "\n";
print "pack ", md5_hex(pack 'NnCvVw/a*d<f<q<', 1, 2, 3, 4, 5, $text, 1.5, 2.25, -7), "\n";
print "base64 ", md5_hex(encode_base64($text)), " ", decode_base64(encode_base64($text)) eq $text, "\n";
my @f = map { (rnd() - 1e9) / (1 + rnd() / 1000) } 1 .. 600 * $size;
print "float ", md5_hex(join ',', map { sprintf '%.17g %.3f %e', $_, $_, $_ } @f), " ", sprintf('%.12f', sum(map { sin($_) * exp(-abs $_) + sqrt abs } @f)), "\n";
print "int ", md5_hex(join ',', map { my $x = int($_ * 1000); ($x & 0xffff) . ($x ^ 0x55aa) . (abs($x) << 3) . abs($x) % 97 } @f), "\n";
print "bigint ", md5_hex(Math::BigInt->new(60 * $size)->bfac()->bstr), " ", Math::BigInt->new(3)->bmodpow('12345678901234567890', '98765432109876543211'), "\n";
print "bigfloat ", Math::BigFloat->bpi(12 * $size), "\n";
print "storable ", join(',', @{ thaw(freeze({ a => [1 .. 5] }))->{a} }), "\n";
my $z = Compress::Zlib::memGzip($text);
print "gzip ", Compress::Zlib::memGunzip($z) eq $text, "\n";
my @sums;
for my $k (1 .. 6) {
        pipe my $r, my $w or die;
        my $pid = fork // die;
        if (!$pid) {
                my $s = 0;
                $s += $_ * $k for 1 .. 4000 * $size;
                print $w $s;
                close $w;
                exit 0;
        }
        close $w;
        push @sums, scalar <$r>;
        waitpid $pid, 0;
}
print "fork @sums\n";
local $SIG{ALRM} = sub { die "alarm\n" };
eval { alarm 1; 1 while 1 };
print "alarm $@";
