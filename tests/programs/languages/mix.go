// SPDX-License-Identifier: MIT

// What Go compilers make code for: goroutines whose stacks grow and are moved under load, the collector, channels, maps, interfaces,
// closures, defer, panics and their recovery (also of nil pointers), signals. Usage: mix [ROUNDS]; as tests/programs/classes.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

var deeps, leafs, gets, sums, recovers int64

type node struct {
	left, right *node
	value       int
	pad         [5]int
}

type summer interface{ sum(int) int }
type plus struct{ by int }
type times struct{ by int }

//go:noinline
func (p plus) sum(n int) int { atomic.AddInt64(&sums, 1); return n + p.by }

//go:noinline
func (t *times) sum(n int) int { atomic.AddInt64(&sums, 1); return n * t.by }

// leaf is small enough to need no check of the stack.
//
//go:noinline
func leaf(a, b int) int {
	atomic.AddInt64(&leafs, 1)
	return a ^ b
}

// get begins with a load that faults when there is no node.
//
//go:noinline
func (n *node) get() int { return n.value }

// deep uses a good piece of stack a frame: goroutines that begin with a small one outgrow it, and it is moved while pointers into it live.
//
//go:noinline
func deep(depth int, carried *int) int {
	var here [24]int
	atomic.AddInt64(&deeps, 1)
	here[depth%24] = depth
	*carried += here[depth%24]
	if depth == 0 {
		return *carried
	}
	return deep(depth-1, carried) + here[depth%24] - depth
}

//go:noinline
func build(depth int) *node {
	if depth == 0 {
		return &node{value: 1}
	}
	return &node{left: build(depth - 1), right: build(depth - 1), value: depth}
}

//go:noinline
func (n *node) total() int {
	if n == nil {
		return 0
	}
	return n.value + n.left.total() + n.right.total()
}

// midway dereferences its node in the middle.
//
//go:noinline
func midway(n *node, where int) int {
	where = leaf(where, 3)
	return n.value*where + n.pad[2]
}

//go:noinline
func guarded(n *node, where int) (result int) {
	defer func() {
		if problem := recover(); problem != nil {
			atomic.AddInt64(&recovers, 1)
			result = -where
		}
	}()
	atomic.AddInt64(&gets, 1)
	return n.get() + midway(n, where) - midway(n, where) + where
}

//go:noinline
func halfway(n *node) (result int) {
	defer func() {
		if recover() != nil {
			result = 9
		}
	}()
	return midway(n, 4)
}

func growing(group *sync.WaitGroup, n int, out *int) {
	defer group.Done()
	carried := 0
	*out = deep(20+n%400, &carried)
}

func round(n int) int {
	var group sync.WaitGroup
	results := make([]int, 8)
	for i := range results {
		group.Add(1)
		go growing(&group, n*8+i, &results[i])
	}
	tree := build(7)
	group.Wait()
	sum := tree.total()
	for i, result := range results {
		depth := 20 + (n*8+i)%400
		if result != depth*(depth+1)/2 {
			fmt.Fprintf(os.Stderr, "a goroutine %d deep gave %d\n", depth, result)
			os.Exit(1)
		}
		sum = sum*31 + result
	}
	pipe := make(chan int)
	go func() {
		for i := 0; i < 20; i++ {
			pipe <- i * n
		}
		close(pipe)
	}()
	for value := range pipe {
		sum += leaf(value, n)
	}
	words := map[string]int{}
	for i := 0; i < 30; i++ {
		words["word "+strconv.Itoa((n+i*i)%11)]++
	}
	keys := make([]string, 0, len(words))
	for key := range words {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	var text bytes.Buffer
	for _, key := range keys {
		fmt.Fprintf(&text, "%s=%d;", key, words[key])
	}
	for _, s := range []summer{plus{n}, &times{3}, plus{7}} {
		sum = s.sum(sum)
	}
	sum += guarded(tree, 5) + guarded(nil, 6) + halfway(tree) + halfway(nil)
	if n%16 == 0 {
		runtime.GC()
	}
	return sum*31 + text.Len()
}

func main() {
	rounds := -1
	if len(os.Args) > 1 {
		rounds, _ = strconv.Atoi(os.Args[1])
	}
	var stopping int32
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		atomic.StoreInt32(&stopping, 1)
	}()
	fmt.Println(os.Getpid())
	var checksum uint64
	for n := 0; (rounds < 0 || n < rounds) && atomic.LoadInt32(&stopping) == 0; n++ {
		checksum = checksum*31 + uint64(round(n))
	}
	if recovers*2 != gets {
		fmt.Fprintf(os.Stderr, "%d panics of %d were recovered\n", recovers, gets/2)
		os.Exit(1)
	}
	fmt.Printf("checksum %x\n", checksum)
	fmt.Printf("main.deep %d\nmain.leaf %d\nmain.guarded %d\n", deeps, leafs, gets)
	fmt.Println("EXIT-SUCCESS")
}
