//go:build !linux

package objects

import "errors"

func mountSmall(string) error { return errors.New("this test mounts as Linux does") }
