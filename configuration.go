package isolde

// The configurations of an agent runtime in the shapes of the AgentCore
// control plane's model (bedrock-agentcore-control, 2023-06-05), so that what a
// caller says is given back unchanged. A pointer is nil where the caller said nothing.

// NetworkConfiguration is where AWS would place a session. Isolde keeps it;
// what a session may reach is [Network]'s to say.
type NetworkConfiguration struct {
	Mode NetworkMode `json:"networkMode"`
	VPC  *VPCConfig  `json:"networkModeConfig,omitempty"`
}

// NetworkMode is PUBLIC or VPC.
type NetworkMode string

// The network modes.
const (
	NetworkPublic NetworkMode = "PUBLIC"
	NetworkVPC    NetworkMode = "VPC"
)

// VPCConfig names subnets and security groups of an AWS network.
type VPCConfig struct {
	SecurityGroups           []string `json:"securityGroups"`
	Subnets                  []string `json:"subnets"`
	RequireServiceS3Endpoint *bool    `json:"requireServiceS3Endpoint,omitempty"`
}

// Authorizer says who may invoke: without one, callers that sign with SigV4.
type Authorizer struct {
	JWT *JWTAuthorizer `json:"customJWTAuthorizer,omitempty"`
}

// JWTAuthorizer takes bearer tokens of an OpenID Connect provider.
type JWTAuthorizer struct {
	DiscoveryURL             string                    `json:"discoveryUrl"` // ends in /.well-known/openid-configuration or the RFC 8414 name
	AllowedAudience          []string                  `json:"allowedAudience,omitempty"`
	AllowedClients           []string                  `json:"allowedClients,omitempty"`
	AllowedScopes            []string                  `json:"allowedScopes,omitempty"`
	AdvertisedScopeMapping   map[string]string         `json:"advertisedScopeMapping,omitempty"`
	CustomClaims             []ClaimRule               `json:"customClaims,omitempty"`
	AllowedWorkloads         *AllowedWorkloads         `json:"allowedWorkloadConfiguration,omitempty"`
	PrivateEndpoint          *PrivateEndpoint          `json:"privateEndpoint,omitempty"`
	PrivateEndpointOverrides []PrivateEndpointOverride `json:"privateEndpointOverrides,omitempty"`
}

// ClaimRule is what a token's claim must hold.
type ClaimRule struct {
	Name  string     `json:"inboundTokenClaimName"`
	Type  string     `json:"inboundTokenClaimValueType"` // STRING or STRING_ARRAY
	Match ClaimMatch `json:"authorizingClaimMatchValue"`
}

// ClaimMatch compares a claim with a value.
type ClaimMatch struct {
	Operator string     `json:"claimMatchOperator"` // EQUALS, CONTAINS or CONTAINS_ANY
	Value    ClaimValue `json:"claimMatchValue"`
}

// ClaimValue is one of its fields.
type ClaimValue struct {
	String  *string  `json:"matchValueString,omitempty"`
	Strings []string `json:"matchValueStringList,omitempty"`
}

// AllowedWorkloads names AWS workloads that may invoke.
type AllowedWorkloads struct {
	HostingEnvironments []HostingEnvironment `json:"hostingEnvironments,omitempty"`
	WorkloadIdentities  []string             `json:"workloadIdentities,omitempty"`
}

// HostingEnvironment is an AWS resource by its ARN.
type HostingEnvironment struct {
	ARN string `json:"arn"`
}

// PrivateEndpoint is a way to an identity provider within AWS; one of its
// fields.
type PrivateEndpoint struct {
	Lattice    *LatticeResource    `json:"selfManagedLatticeResource,omitempty"`
	ManagedVPC *ManagedVPCResource `json:"managedVpcResource,omitempty"`
}

// LatticeResource is a VPC Lattice resource of the caller's.
type LatticeResource struct {
	ID string `json:"resourceConfigurationIdentifier"`
}

// ManagedVPCResource is a VPC Lattice resource that AWS makes.
type ManagedVPCResource struct {
	VPC            string            `json:"vpcIdentifier"`
	Subnets        []string          `json:"subnetIds"`
	AddressType    string            `json:"endpointIpAddressType"` // IPV4 or IPV6
	SecurityGroups []string          `json:"securityGroupIds,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	RoutingDomain  string            `json:"routingDomain,omitempty"`
}

// PrivateEndpointOverride is a [PrivateEndpoint] for one domain.
type PrivateEndpointOverride struct {
	Domain   string          `json:"domain"`
	Endpoint PrivateEndpoint `json:"privateEndpoint"`
}

// AllowedPort is a port, or a range of ports, of an agent that session
// endpoints forward to; one of its fields.
type AllowedPort struct {
	Port  *int       `json:"port,omitempty"`
	Range *PortRange `json:"portRange,omitempty"`
}

// PortRange holds both of its ends.
type PortRange struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Filesystem is storage that a session mounts; one of its fields.
type Filesystem struct {
	Session  *SessionStorage `json:"sessionStorage,omitempty"`
	S3Files  *AccessPoint    `json:"s3FilesAccessPoint,omitempty"`
	EFS      *AccessPoint    `json:"efsAccessPoint,omitempty"`
	Capacity *VolumeMount    `json:"capacityProviderVolume,omitempty"`
}

// SessionStorage is a folder that a session's id keeps over its stops.
type SessionStorage struct {
	MountPath string `json:"mountPath"`
}

// Mount is a folder of the server's machine that all sessions of a version
// see. The AgentCore API has no word for it; a server allows folders by name.
type Mount struct {
	Path     string `json:"path"`   // in the session: a folder below /mnt
	Folder   string `json:"folder"` // on the server's machine, absolute
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// AccessPoint is a file system of AWS.
type AccessPoint struct {
	ARN       string `json:"accessPointArn"`
	MountPath string `json:"mountPath"`
}

// VolumeMount is a volume of a capacity provider.
type VolumeMount struct {
	Volume    string `json:"volumeName"`
	MountPath string `json:"mountPath"`
}

// MetadataConfiguration is about the metadata service within a session.
type MetadataConfiguration struct {
	RequireMMDSV2 *bool `json:"requireMMDSV2,omitempty"`
}
