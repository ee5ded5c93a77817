-- SPDX-License-Identifier: GPL-2.0-or-later
-- usage: work.lua N: work for a just-in-time compiler: loops, tables, strings, closures. Prints a number.
local bit = require('bit')

local function sieve(limit)
    local composite, sum = {}, 0
    for i = 2, limit do
        if not composite[i] then
            sum = sum + i
            for j = i * i, limit, i do
                composite[j] = true
            end
        end
    end
    return sum
end

local function mandelbrot(size)
    local inside = 0
    for row = 0, size - 1 do
        for column = 0, size - 1 do
            local cr, ci = column * 3 / size - 2, row * 2 / size - 1
            local r, i, n = 0, 0, 0
            while n < 60 and r * r + i * i < 4 do
                r, i, n = r * r - i * i + cr, 2 * r * i + ci, n + 1
            end
            inside = inside + n
        end
    end
    return inside
end

local function hash(text, rounds)
    local h = 5381
    for _ = 1, rounds do
        for i = 1, #text do
            h = bit.bxor(bit.lshift(h, 5) + h, text:byte(i))
        end
    end
    return h
end

local function closures(n)
    local steps = {}
    for i = 1, 16 do
        steps[i] = function(x) return (x * 3 + i) % 1000003 end
    end
    local x = 1
    for i = 1, n do
        x = steps[i % 16 + 1](x)
    end
    return x
end

local result = 0
for i = 1, tonumber(arg[1]) do
    for _, part in ipairs({ sieve(100000), mandelbrot(120), hash(('word ' .. i):rep(50), 200), closures(200000) }) do
        result = (result * 31 + part) % 2147483647
    end
end
print(result)
