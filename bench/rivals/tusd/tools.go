//go:build tools

// Package tools names the program, so that go.mod and go.sum pin it and all that it needs.
package tools

import _ "github.com/tus/tusd/v2/cmd/tusd"
