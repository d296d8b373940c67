# gRPC: the details of an error, a deadline, a watch.
require 'google/protobuf/well_known_types'
require 'grpc'
require 'google/rpc/error_details_pb'
require 'pointsman/v1/agent_services_pb'

include Pointsman::V1
Wait = Google::Protobuf::Duration

def connect(variable)
  Agent::Stub.new(ENV.fetch(variable), :this_channel_is_insecure)
end

def info(error)
  error.to_rpc_status.details.map { |detail| detail.unpack(Google::Rpc::ErrorInfo) }.compact.first
end

def code(error)
  GRPC::Core::StatusCodes.constants.find { |name| GRPC::Core::StatusCodes.const_get(name) == error.code }
end

agent = connect('POINTSMAN_SOCKET')
silent = connect('POINTSMAN_SILENT_SOCKET')

begin
  agent.pick(PickRequest.new(service: 'crat.shop'))
rescue GRPC::BadStatus => error
  puts "error #{code(error)} #{info(error).reason} #{info(error).metadata['near']}"
end

begin
  silent.pick(PickRequest.new(service: 'cart.shop', wait: Wait.new(nanos: 200_000_000)))
rescue GRPC::BadStatus => error
  puts "wait #{code(error)} #{info(error).reason}"
end

began = Time.now
begin
  silent.pick(PickRequest.new(service: 'cart.shop', wait: Wait.new(seconds: 5)), deadline: began + 0.5)
rescue GRPC::BadStatus => error
  puts "deadline #{code(error)} #{((Time.now - began) * 1000).round} ms"
end

events = agent.watch_service(WatchServiceRequest.new(service: 'changing.shop'))
puts "watch #{events.first(2).map(&:type).join(' ')}"
