package wire

import "encoding/binary"

// MaxAlgorithms is how many entries of a PASSWORD-ALGORITHMS are read; two are defined (RFC 8489 §18.5).
const MaxAlgorithms = 8

// PasswordAlgorithms are the numbers of PASSWORD-ALGORITHMS in their order (RFC 8489 §14.11), appended to dst. The
// error is ErrMalformed, also for an algorithm with parameters, as those that are defined have none, and for more than
// MaxAlgorithms.
func (m *Message) PasswordAlgorithms(dst []uint16) (numbers []uint16, ok bool, err error) {
	value, ok := m.Get(AttrPasswordAlgorithms)
	if !ok {
		return dst, false, nil
	}
	if len(value) == 0 || len(value)%algorithmSize != 0 || len(value) > MaxAlgorithms*algorithmSize {
		return dst, true, ErrMalformed
	}
	for ; len(value) > 0; value = value[algorithmSize:] {
		n, err := algorithm(value[:algorithmSize])
		if err != nil {
			return dst, true, err
		}
		dst = append(dst, n)
	}
	return dst, true, nil
}

// PasswordAlgorithm is the number of PASSWORD-ALGORITHM (RFC 8489 §14.12). The error is ErrMalformed, also for an
// algorithm with parameters.
func (m *Message) PasswordAlgorithm() (number uint16, ok bool, err error) {
	value, ok := m.Get(AttrPasswordAlgorithm)
	if !ok {
		return 0, false, nil
	}
	number, err = algorithm(value)
	return number, true, err
}

// algorithmSize is an algorithm without parameters: its number and the length zero of these.
const algorithmSize = 4

func algorithm(b []byte) (uint16, error) {
	if len(b) != algorithmSize || binary.BigEndian.Uint16(b[2:]) != 0 {
		return 0, ErrMalformed
	}
	return binary.BigEndian.Uint16(b), nil
}

func appendAlgorithm(dst []byte, number uint16) []byte {
	return append(dst, byte(number>>8), byte(number), 0, 0)
}
