// SPDX-License-Identifier: MIT
// Calls during which a goroutine's stack moves (it grows from 2 KiB), goroutines that change threads inside of calls, and panics that leave
// them. Usage: grow COUNTS-FILE: there stand the calls of each function; of the eight that are alike some can surely be probed.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

const goroutines = 20

//go:noinline
func deep(n int, room [16]int) int {
	if n == 0 {
		return room[3]
	}
	room[n&15] += n
	return deep(n-1, room) + room[n&15]
}

//go:noinline
func grow1(n int) int { return deep(n, [16]int{1}) + 1 }

//go:noinline
func grow2(n int) int { return deep(n+1, [16]int{2}) + 2 }

//go:noinline
func grow3(n int) int { return deep(n+2, [16]int{3}) + 3 }

//go:noinline
func grow4(n int) int { return deep(n+3, [16]int{4}) + deep(n, [16]int{4}) }

//go:noinline
func grow5(n int) int { return deep(n+4, [16]int{5}) * 5 }

//go:noinline
func grow6(n int) int { return deep(n+5, [16]int{6}) ^ 6 }

//go:noinline
func grow7(n int) int {
	if n < 0 {
		return 7
	}
	return deep(n+6, [16]int{7}) + 7
}

//go:noinline
func grow8(n int, more ...int) int { return deep(n+7, [16]int{8}) + len(more) }

//go:noinline
func yield(n int) int {
	runtime.Gosched()
	return n + 1
}

var panics int64

//go:noinline
func mayPanic(n int) int {
	if n%2 == 0 {
		atomic.AddInt64(&panics, 1)
		panic(n)
	}
	return yield(n)
}

func try(n int) (result int) {
	defer func() {
		if recover() != nil {
			result = -n
		}
	}()
	return mayPanic(n)
}

func main() {
	var wait sync.WaitGroup
	sums := make([]int, goroutines)

	for i := range sums {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			n := 40 * (i%3 + 1)
			sums[i] = grow1(n) + grow2(n) + grow3(n) + grow4(n) + grow5(n) + grow6(n) + grow7(n) + grow8(n, 1, 2)
			for k := 0; k < 50; k++ {
				sums[i] += yield(k) + try(k)
			}
		}(i)
	}
	wait.Wait()
	sum := 0
	for _, one := range sums {
		sum += one
	}
	fmt.Println("grow", sum)
	out := ""
	for i := 1; i <= 8; i++ {
		out += fmt.Sprintf("main.grow%d %d 0\n", i, goroutines)
	}
	out += fmt.Sprintf("main.yield %d 0\nmain.mayPanic %d %d\n", goroutines*75, goroutines*25, panics)
	if os.WriteFile(os.Args[1], []byte(out), 0644) != nil {
		os.Exit(1)
	}
}
