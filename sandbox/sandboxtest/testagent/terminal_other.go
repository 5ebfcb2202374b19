//go:build !linux

package main

import "errors"

func sit() { fatal(errors.New("no terminals here")) }
