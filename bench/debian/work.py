# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: work.py N: what scripts do: objects, calls, lists, dictionaries, strings, exceptions, closures. Prints a number."""
import sys


class Account:
    def __init__(self, number, owner):
        self.number, self.owner, self.balance, self.history = number, owner, 0, []

    def book(self, amount):
        if self.balance + amount < -1000:
            raise ValueError(amount)
        self.balance += amount
        self.history.append(amount)

    def worth(self):
        return self.balance * 2


class Savings(Account):
    def worth(self):
        return super().worth() + len(self.history)


def bank(seed):
    accounts = [(Savings if i % 3 else Account)(i, f'owner {i % 7}') for i in range(50)]
    refused = 0
    for _ in range(4000):
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        try:
            accounts[seed >> 8 & 31].book((seed >> 13) % 401 - 220)
        except ValueError:
            refused += 1
    owners = {}
    for a in accounts:
        owners.setdefault(a.owner, []).append(a.worth())
    return refused + sum(sum(v) * len(k) for k, v in sorted(owners.items()))


def words(seed):
    text = ' '.join(f'w{(i * seed) % 97:x}' for i in range(3000))
    count = {}
    for word in text.split():
        count[word] = count.get(word, 0) + 1
    best = sorted(count.items(), key=lambda item: (-item[1], item[0]))[:10]
    return sum(n * len(w) for w, n in best) + len(text.replace('w1', 'x').upper())


def sieve(limit):
    prime = [True] * limit
    for i in range(2, int(limit ** 0.5) + 1):
        if prime[i]:
            for j in range(i * i, limit, i):
                prime[j] = False
    return sum(i for i in range(2, limit) if prime[i])


def queens(n):
    def place(row, columns, up, down):
        if row == n:
            return 1
        return sum(place(row + 1, columns | 1 << c, up | 1 << row + c, down | 1 << row - c + n) for c in range(n)
                   if not (columns >> c & 1 or up >> row + c & 1 or down >> row - c + n & 1))
    return place(0, 0, 0, 0)


def average(n):
    total = 0.0
    for i in range(1, n):
        total += (i % 11) / i - total * 1e-3
    return round(total * 1e6)


def main():
    result = 0
    for i in range(int(sys.argv[1])):
        for part in (bank(i + 1), words(i + 3), sieve(5000), queens(6), average(5000)):
            result = (result * 31 + part) & 0xffffffffffff
    print(result)


main()
