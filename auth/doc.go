// Package auth says who is calling and what they may do: an [Identity], and
// the [Keys] whose holders are known by their signature.
//
// Its sub-packages find the identity out. Package sigv4 checks the signatures
// that AWS SDKs make with a key, package jwt the tokens of an OpenID Connect
// provider, and package spool keeps a body that must be hashed before anyone
// may see it.
package auth
