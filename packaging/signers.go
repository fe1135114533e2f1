package packaging

import _ "embed" // for AllowedSigners

// AllowedSigners has the public keys whose signatures of a release are accepted, in the format of
// ssh-keygen. Without a line that is no comment there is no key.
//
//go:embed allowed_signers
var AllowedSigners string
