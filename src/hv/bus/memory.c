/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"

#define GUEST_PAGE 4096ULL

/* A memfd of size bytes that can never change its size again: nobody who gets the descriptor can make us SIGBUS. */
static int make_memfd(uint64_t size)
{
        DOMUS_CLOSE_FD int fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size) < 0)
                return -errno;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        return fd_steal(&fd);
}

static int add_region(struct guest_memory *mem, const struct guest_region *region)
{
        if (mem->n_regions == GUEST_REGIONS_MAX)
                return -ENOSPC;
        for (unsigned i = 0; i < mem->n_regions; i++)
                if (region->gpa < mem->regions[i].gpa + mem->regions[i].size &&
                        mem->regions[i].gpa < region->gpa + region->size)
                        return -EBUSY;
        mem->regions[mem->n_regions++] = *region;
        return 0;
}

static int add_ram(struct guest_memory *mem, uint64_t gpa, uint64_t size, uint64_t offset)
{
        struct guest_region region = { .gpa = gpa, .size = size, .offset = offset };

        region.host =
                mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, mem->memfd, (off_t)offset);
        if (region.host == MAP_FAILED)
                return -errno;
        /* A core dump of the hypervisor shall not hold the guest. */
        madvise(region.host, size, MADV_DONTDUMP);
        return add_region(mem, &region);
}

int guest_memory_init(struct guest_memory *mem, uint64_t ram_size)
{
        uint64_t low = ram_size < GUEST_LOW_RAM_END ? ram_size : GUEST_LOW_RAM_END;
        int r;

        *mem = (struct guest_memory){ .memfd = -1 };
        if (ram_size % GUEST_PAGE || ram_size < MiB(1) || ram_size > (uint64_t)INT64_MAX)
                return -EINVAL;
        r = make_memfd(ram_size);
        if (r < 0)
                return r;
        mem->memfd = r;
        mem->ram_size = ram_size;
        r = add_ram(mem, 0, low, 0);
        if (r == 0 && low < ram_size)
                r = add_ram(mem, GUEST_HIGH_RAM_START, ram_size - low, low);
        if (r < 0)
                guest_memory_finish(mem);
        return r;
}

static bool is_ram(const struct guest_memory *mem, const struct guest_region *region)
{
        return !region->readonly && mem->memfd >= 0;
}

void guest_memory_finish(struct guest_memory *mem)
{
        for (unsigned i = 0; i < mem->n_regions; i++)
                if (is_ram(mem, &mem->regions[i]))
                        munmap(mem->regions[i].host, mem->regions[i].size);
        fd_close(mem->memfd);
        *mem = (struct guest_memory){ .memfd = -1 };
}

int guest_memory_add(struct guest_memory *mem, uint64_t gpa, uint64_t size, uint8_t *host, bool readonly)
{
        struct guest_region region = { .gpa = gpa, .size = size, .host = host, .readonly = readonly };

        if (gpa % GUEST_PAGE || size % GUEST_PAGE || size == 0 || gpa + (size - 1) < gpa || !readonly)
                return -EINVAL;
        return add_region(mem, &region);
}

static const struct guest_region *find(const struct guest_memory *mem, uint64_t gpa)
{
        for (unsigned i = 0; i < mem->n_regions; i++)
                if (gpa - mem->regions[i].gpa < mem->regions[i].size)
                        return &mem->regions[i];
        return NULL;
}

void *guest_memory_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
        const struct guest_region *region = find(mem, gpa);
        uint64_t off;

        if (!region)
                return NULL;
        off = gpa - region->gpa;
        return len <= region->size - off ? region->host + off : NULL;
}

void *guest_ram_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
        const struct guest_region *region = find(mem, gpa);

        return region && !region->readonly ? guest_memory_ptr(mem, gpa, len) : NULL;
}

/* The host address of gpa, with *n cut down to what lies in the same region; NULL if that is not RAM (or ROM, for reads). */
static uint8_t *piece(const struct guest_memory *mem, uint64_t gpa, size_t *n, bool write)
{
        const struct guest_region *region = find(mem, gpa);
        uint64_t left;

        if (!region || (write && region->readonly))
                return NULL;
        left = region->size - (gpa - region->gpa);
        if (*n > left)
                *n = (size_t)left;
        return region->host + (gpa - region->gpa);
}

int guest_read(const struct guest_memory *mem, uint64_t gpa, void *buf, size_t len)
{
        uint8_t *to = buf;

        while (len) {
                size_t n = len;
                const uint8_t *from = piece(mem, gpa, &n, false);

                if (!from)
                        return -EFAULT;
                memcpy(to, from, n);
                to += n;
                gpa += n;
                len -= n;
        }
        return 0;
}

int guest_write(const struct guest_memory *mem, uint64_t gpa, const void *buf, size_t len)
{
        const uint8_t *from = buf;

        while (len) {
                size_t n = len;
                uint8_t *to = piece(mem, gpa, &n, true);

                if (!to)
                        return -EFAULT;
                memcpy(to, from, n);
                guest_memory_written(mem, gpa, n);
                from += n;
                gpa += n;
                len -= n;
        }
        return 0;
}

int guest_memory_discard(struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
        const struct guest_region *region = find(mem, gpa);
        int r = 0;

        if (!guest_ram_ptr(mem, gpa, len) || mem->memfd < 0)
                return -EFAULT;
        if (gpa % GUEST_PAGE || len % GUEST_PAGE || len == 0)
                return -EINVAL;
        if (fallocate(mem->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(region->offset + (gpa - region->gpa)), (off_t)len) < 0)
                r = -errno;
        guest_memory_written(mem, gpa, len);
        return r;
}

void guest_memory_zero(struct guest_memory *mem)
{
        if (mem->memfd < 0 ||
                fallocate(mem->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)mem->ram_size) == 0)
                return;
        for (unsigned i = 0; i < mem->n_regions; i++)
                if (is_ram(mem, &mem->regions[i]))
                        memset(mem->regions[i].host, 0, mem->regions[i].size);
}
