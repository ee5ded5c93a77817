-- SPDX-License-Identifier: GPL-2.0-or-later
local bit = require 'bit'
local ffi = require 'ffi'

local size = os.getenv('QUICK') and 1 or 8

local function fnv(s)
  local h = 2166136261
  for i = 1, #s do
    h = bit.bxor(h, s:byte(i))
    h = bit.tobit(bit.lshift(h, 24) + bit.lshift(h, 8) + h * 147)
  end
  return bit.tohex(h)
end

local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
print('fib', fib(18 + size))

local sieve, count = {}, 0
for i = 2, 25000 * size do
  if not sieve[i] then
    count = count + 1
    for j = i * i, 25000 * size, i do sieve[j] = true end
  end
end
print('primes', count)

local function bodies(n)
  local x, v = { 0, 1, 0, -1.5 }, { 0, 0.9, 0.1, -0.4 }
  for _ = 1, n do
    for i = 1, 4 do
      local a = 0
      for j = 1, 4 do
        if i ~= j then
          local d = x[j] - x[i]
          a = a + d / (math.abs(d) ^ 3 + 0.01)
        end
      end
      v[i] = v[i] + a * 0.001
    end
    for i = 1, 4 do x[i] = x[i] + v[i] * 0.001 end
  end
  return x, v
end
local x = bodies(2500 * size)
print('bodies', string.format('%.9f %.9f %.9f %.9f', x[1], x[2], x[3], x[4]))

local s = 0
for i = 1, 40000 * size do s = s + math.floor(math.sqrt(i) * 16) % 7 - bit.band(i, 3) end
print('loop', s)

local t = {}
for i = 1, 20000 do t[i] = (i * 7919) % 20011 end
table.sort(t, function(a, b) return a > b end)
print('sort', t[1], t[10000], t[20000])

local parts = {}
for i = 1, 2500 * size do parts[#parts + 1] = string.format('%d:%x;', i, i * i % 65536) end
local str = table.concat(parts)
print('string', #str, fnv(str), fnv(str:gsub('%d+', function(d) return d:reverse() end)), select(2, str:gsub('[a-f]+', '')))

local n = 4096
local a, b = ffi.new('int32_t[?]', n), ffi.new('double[?]', n)
for r = 1, 6 * size do
  for i = 0, n - 1 do
    a[i] = bit.bxor(a[i] * 5 + r, i)
    b[i] = b[i] * 0.5 + a[i] % 1000
  end
end
local ia, fb = 0, 0
for i = 0, n - 1 do ia = bit.bxor(ia, a[i]); fb = fb + b[i] end
print('ffi', bit.tohex(ia), string.format('%.6f', fb))

local c = coroutine.wrap(function() for i = 1, 1e4 * size do coroutine.yield(i) end return 0 end)
local total = 0
for _ = 1, 1e4 * size do total = total + c() end
print('coroutine', total)

local i64 = 1LL
for i = 1, 12000 * size do i64 = i64 * 6364136223846793005LL + i end
print('int64', tostring(i64), tostring(i64 / 12345LL), tostring(i64 % 1000LL))
print('pcall', pcall(error, 'thrown'))
