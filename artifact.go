package isolde

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Artifact is where a version's files come from, one of: the union
// AgentRuntimeArtifact of the AgentCore API.
type Artifact struct {
	Container *ContainerArtifact `json:"containerConfiguration,omitempty"`
	Code      *CodeArtifact      `json:"codeConfiguration,omitempty"`
}

// ContainerArtifact is a container image.
type ContainerArtifact struct {
	// URI is an image reference as docker pull takes it, "oci:PATH[:TAG]" for an
	// OCI layout or "docker-archive:PATH" for the output of docker save, both on
	// the server's machine, or the [FolderImageURI] of a folder that was deployed.
	URI string `json:"containerUri"`
}

// CodeArtifact is a zip archive with an agent's code and, vendored at its
// root, the packages the code needs.
type CodeArtifact struct {
	Code       CodeLocation `json:"code"`
	Runtime    CodeRuntime  `json:"runtime"`
	Entrypoint []string     `json:"entryPoint"` // 1 or 2 items, e.g. ["opentelemetry-instrument","agent.py"]
}

// CodeLocation says where a zip archive is; S3 is the one place the API knows.
type CodeLocation struct {
	S3 *S3Location `json:"s3,omitempty"`
}

// S3Location is an object in S3 or a store that speaks its API.
type S3Location struct {
	Bucket    string `json:"bucket"`
	Key       string `json:"prefix"` // the API's name; it is the object's whole key
	VersionID string `json:"versionId,omitempty"`
}

// String reads like s3://bucket/key.
func (l S3Location) String() string { return "s3://" + l.Bucket + "/" + l.Key }

// CodeRuntime is the interpreter that runs a code artifact, in the API's words.
type CodeRuntime string

// The runtimes of the AgentCore model.
const (
	RuntimePython310 CodeRuntime = "PYTHON_3_10"
	RuntimePython311 CodeRuntime = "PYTHON_3_11"
	RuntimePython312 CodeRuntime = "PYTHON_3_12"
	RuntimePython313 CodeRuntime = "PYTHON_3_13"
	RuntimePython314 CodeRuntime = "PYTHON_3_14"
	RuntimeNode22    CodeRuntime = "NODE_22"
)

var codeRuntimes = []CodeRuntime{
	RuntimePython310, RuntimePython311, RuntimePython312, RuntimePython313, RuntimePython314, RuntimeNode22,
}

// Language is the interpreter's language.
func (r CodeRuntime) Language() Language {
	if strings.HasPrefix(string(r), "NODE_") {
		return LanguageNode
	}
	return LanguagePython
}

// Version is the interpreter's version as people write it: "3.12", "22".
func (r CodeRuntime) Version() string {
	_, version, _ := strings.Cut(string(r), "_")
	return strings.ReplaceAll(version, "_", ".")
}

// The bounds of a code artifact, from the AgentCore limits page.
const (
	MaxCodeZip      = 250 << 20 // bytes of the archive
	MaxCodeUnpacked = 750 << 20 // bytes of what is in it
)

// folderImages is the registry of images built from deployed folders. No such
// host exists (RFC 2606): they are in the server's own store.
const folderImages = "isolde.invalid/"

// FolderImageURI is what the API shows as the container URI of a version that
// was deployed as a folder. Given back in an update, it stands for the same image.
func FolderImageURI(name, digest string) string { return folderImages + name + "@" + digest }

// FolderImage is the digest in a [FolderImageURI].
func FolderImage(uri string) (digest string, ok bool) {
	rest, ok := strings.CutPrefix(uri, folderImages)
	_, digest, found := strings.Cut(rest, "@")
	return digest, ok && found
}

var (
	bucketRE = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// check reports what is wrong with a.
func (a *Artifact) check(p *Problems) {
	const field = "agentRuntimeArtifact"
	switch {
	case a.Container != nil && a.Code != nil:
		p.Add(field, "must be one of containerConfiguration and codeConfiguration, not both")
	case a.Container != nil:
		a.Container.check(p, field+".containerConfiguration")
	case a.Code != nil:
		a.Code.check(p, field+".codeConfiguration")
	default:
		p.Add(field, "must be containerConfiguration or codeConfiguration")
	}
}

func (c *ContainerArtifact) check(p *Problems, field string) {
	p.Length(field+".containerUri", c.URI, 1, 1024)
	if digest, ok := FolderImage(c.URI); ok && !digestRE.MatchString(digest) {
		p.Add(field+".containerUri", "%q must end with @sha256: and 64 hexadecimal digits", c.URI)
	}
}

func (c *CodeArtifact) check(p *Problems, field string) {
	if s3 := c.Code.S3; s3 == nil {
		p.Add(field+".code", "must be s3")
	} else {
		if !bucketRE.MatchString(s3.Bucket) {
			p.Add(field+".code.s3.bucket", "%q must hold 3 to 63 lower-case letters, digits, dots and hyphens", shorten(s3.Bucket))
		}
		p.Length(field+".code.s3.prefix", s3.Key, 1, 1024)
		if s3.VersionID != "" {
			p.Length(field+".code.s3.versionId", s3.VersionID, 3, 1024)
		}
	}
	if !slices.Contains(codeRuntimes, c.Runtime) {
		p.Add(field+".runtime", "%q is none of %s", c.Runtime, join(codeRuntimes))
	}
	if n := len(c.Entrypoint); n < 1 || n > 2 {
		p.Add(field+".entryPoint", "has %d items; 1 or 2 are allowed", n)
	}
	for i, arg := range c.Entrypoint {
		p.Length(fmt.Sprintf("%s.entryPoint[%d]", field, i), arg, 1, 128)
	}
}

// join lists the values of an enumeration.
func join[T ~string](all []T) string {
	var b strings.Builder
	for i, v := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(v))
	}
	return b.String()
}
