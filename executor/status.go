package executor

// HTTP status codes (RFC 9110) of the answers. They are spelled out here because net/http, with all
// that it brings, has no place in the process that runs commands.
const (
	statusOK                  = 200
	statusBadRequest          = 400
	statusUnauthorized        = 401
	statusNotFound            = 404
	statusMethodNotAllowed    = 405
	statusConflict            = 409
	statusInternalServerError = 500
	statusServiceUnavailable  = 503
)
