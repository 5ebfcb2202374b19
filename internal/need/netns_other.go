//go:build !linux

package need

import "errors"

func tryNetNS() error { return errors.New("network namespaces exist on Linux only") }
