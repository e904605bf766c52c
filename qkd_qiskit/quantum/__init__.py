"""The quantum student: encoding, ansatz, observables, head. Imports Qiskit and torch, never Aer or Runtime."""
