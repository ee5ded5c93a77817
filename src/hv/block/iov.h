/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Scattered memory. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

size_t iov_size(const struct iovec *iov, unsigned n);
/* Copies len bytes, or up to the end, from byte off on; returns the bytes copied. */
size_t iov_read(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len);
size_t iov_write(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len);
size_t iov_zero(const struct iovec *iov, unsigned n, size_t off, size_t len);
/* len bytes of iov from byte off on as pieces in to, which has room for n; returns how many there are. */
unsigned iov_slice(const struct iovec *iov, unsigned n, size_t off, size_t len, struct iovec *to);
bool iov_is_zero(const struct iovec *iov, unsigned n);
/* Are addresses and lengths of all pieces multiples of align (a power of two)? */
bool iov_is_aligned(const struct iovec *iov, unsigned n, size_t align);
