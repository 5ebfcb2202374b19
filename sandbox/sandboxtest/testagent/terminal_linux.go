package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// sit is a program on a terminal: it says what terminal that is, which
// signals come, and does what is typed.
func sit() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGWINCH)
	go func() {
		for s := range signals {
			if s == syscall.SIGINT {
				fmt.Println("interrupted")
			} else {
				fmt.Println("resized", windowSize())
			}
		}
	}()
	var foreground int32
	if err := ioctl(syscall.TIOCGPGRP, unsafe.Pointer(&foreground)); err != nil || int(foreground) != syscall.Getpgrp() {
		fatal(fmt.Errorf("not in the foreground of its terminal: group %d, %w", foreground, err))
	}
	fmt.Println("sits at", windowSize())
	for in := bufio.NewReader(os.Stdin); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			fmt.Println("end of input")
			os.Exit(9)
		}
		order, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.Atoi(argument)
		switch order {
		case "raw":
			fmt.Printf("key %q\n", rawKey(in))
		case "flood":
			for left := n; left > 0; left -= 8 {
				fmt.Print("1234567\n")
			}
			fmt.Println("flooded")
		case "exit":
			os.Exit(n)
		case "kill":
			_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
		default:
			fmt.Println("no order", order)
		}
	}
}

// windowSize is the terminal's size as "columns x rows".
func windowSize() string {
	var size struct{ rows, columns, x, y uint16 }
	if err := ioctl(syscall.TIOCGWINSZ, unsafe.Pointer(&size)); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d x %d", size.columns, size.rows)
}

// rawKey reads one key as an editor does: no line, no echo, no signals.
func rawKey(in *bufio.Reader) byte {
	var before syscall.Termios
	if err := ioctl(syscall.TCGETS, unsafe.Pointer(&before)); err != nil {
		fatal(err)
	}
	raw := before
	raw.Lflag &^= syscall.ICANON | syscall.ECHO | syscall.ISIG
	raw.Iflag &^= syscall.ICRNL
	if err := ioctl(syscall.TCSETS, unsafe.Pointer(&raw)); err != nil {
		fatal(err)
	}
	fmt.Println("reads keys")
	key, err := in.ReadByte()
	if err != nil {
		fatal(err)
	}
	if err := ioctl(syscall.TCSETS, unsafe.Pointer(&before)); err != nil {
		fatal(err)
	}
	return key
}

func ioctl(request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
