# SPDX-License-Identifier: GPL-2.0-or-later
# Changes the system, so it runs in the guest only and judges itself: packages are built, installed, upgraded and removed.
set -ex
for version in 1 2; do
        mkdir -p p/DEBIAN p/usr/share/domus-package
        printf 'Package: domus-package\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: test\n' \
                $version >p/DEBIAN/control
        printf '#!/bin/sh\necho configured %s\n' $version >p/DEBIAN/postinst
        chmod 755 p/DEBIAN/postinst
        seq $((version * 5000)) >p/usr/share/domus-package/numbers
        dpkg-deb --root-owner-group -b p domus-$version.deb
        dpkg -i domus-$version.deb
        [ "$(wc -l </usr/share/domus-package/numbers)" = $((version * 5000)) ]
        dpkg -V domus-package
        [ "$(dpkg-query -W -f '${Version} ${db:Status-Status}' domus-package)" = "$version installed" ]
done
dpkg -i /opt/hello.deb
[ "$(hello)" = 'Hello, world!' ]
echo broken >>/usr/share/domus-package/numbers
[ -n "$(dpkg -V domus-package)" ]
dpkg -r hello
dpkg -P domus-package
[ ! -e /usr/bin/hello ] && [ ! -e /usr/share/domus-package ]
[ -z "$(dpkg --audit)" ]
ldconfig
echo 'all right'
