package supervisor

import (
	"fmt"
	"testing"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/state"
)

// Each MAX_STATE that the configuration takes is one that the ledger takes.
func TestMaxState_IsTheLedgers(t *testing.T) {
	for bytes, valid := range map[int64]bool{state.MaxCapacity: true, state.MaxCapacity + 1: false} {
		_, err := config.Parse("f", fmt.Appendf(nil, "SECRET_KEY = 'some-secret'\nMAX_STATE = %d\n", bytes))
		if (err == nil) != valid {
			t.Errorf("%d: got %v, want it valid: %t", bytes, err, valid)
		}
	}
}
