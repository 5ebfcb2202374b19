// Package sigv4 checks requests that are signed with AWS's signature version
// 4, in their headers or, presigned, in their query.
//
// The signature covers the body's SHA-256. Some SDKs (JavaScript, Java) send it in a
// header; Go and boto3 do not, so that the signature can be checked only once
// the body was read. [Verifier.Begin] therefore takes the request without its
// body, and [Pending.Finish] the hash of the body:
//
//	pending, err := verifier.Begin(r)         // refuses what is wrong already
//	body, err := spool.Read(r.Body, …)        // kept back, and hashed
//	identity, err := pending.Finish(body.SHA256())
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
package sigv4
