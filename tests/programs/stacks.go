// SPDX-License-Identifier: MIT

// Calls probed() from functions of different shapes, in goroutines too, and prints who called it: what runtime.Callers says.
package main

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
)

var lines []string
var guard sync.Mutex

//go:noinline
func probed(n int) int {
	pcs := make([]uintptr, 200)
	count := runtime.Callers(2, pcs)
	var text strings.Builder
	for _, pc := range pcs[:count] {
		fmt.Fprintf(&text, "0x%x ", pc)
	}
	guard.Lock()
	lines = append(lines, text.String())
	guard.Unlock()
	return n + 1
}

//go:noinline
func large(n int) int {
	var room [3000]int
	for i := range room {
		room[i] = n * i
	}
	return probed(room[n%3000]) + room[5]
}

//go:noinline
func recursive(n int) int {
	if n == 0 {
		return large(n)
	}
	return recursive(n-1) + 1
}

type shape interface{ area(n int) int }
type square struct{ side int }

func (s *square) area(n int) int { return recursive(n) + s.side }

func main() {
	probed(1)
	large(2)
	recursive(20)
	var s shape = &square{4}
	s.area(3)
	func() { defer func() { probed(5) }() }()
	var wait sync.WaitGroup
	wait.Add(1)
	go func() {
		recursive(7)
		wait.Done()
	}()
	wait.Wait()
	for _, line := range lines {
		fmt.Println(line)
	}
}
